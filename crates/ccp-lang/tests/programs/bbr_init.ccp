# BBR, until the first round trip is known.
(def (Report
    (volatile loss 0)
    (minrtt +infinity)
    (volatile rate 0)
    (pulseState 5)
))
(when true
    (:= Report.loss (+ Report.loss Ack.lost_pkts_sample))
    (:= Report.minrtt (min Report.minrtt Flow.rtt_sample_us))
    (:= Report.rate (max Report.rate (min Flow.rate_outgoing Flow.rate_incoming)))
    (:= Report.pulseState 5)
    (fallthrough)
)
(when (> Micros Report.minrtt)
    (report)
)
