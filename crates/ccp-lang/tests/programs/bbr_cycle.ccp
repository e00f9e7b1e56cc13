# BBR's gain cycle as one expression: a round trip of five quarters, one of three quarters, six of the
# bandwidth itself. The agent tells the bandwidth, and hears of it once per round trip.
(def
    (Report
        (volatile loss 0)
        (volatile rate 0)
        (minrtt +infinity)
    )
    (bandwidth 1_000_000)
    (cap 40_000)
)
(when true
    (:= Report.loss (+ Report.loss Ack.lost_pkts_sample))
    (:= Report.minrtt (min Report.minrtt Flow.rtt_sample_us))
    (:= Report.rate (max Report.rate (min Flow.rate_outgoing Flow.rate_incoming)))
    (:= Rate (cycle bandwidth (rtt Report.minrtt) (5/4 1rtt) (3/4 1rtt) (1 6rtt)))
    (:= Cwnd cap)
    (fallthrough)
)
(when (> Micros Report.minrtt)
    (report)
    (reset)
)
