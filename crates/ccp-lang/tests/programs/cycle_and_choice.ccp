# A probing cycle, a choice between windows, a condition of several parts.
(def
    (Report
        (volatile rate 0)
        (volatile loss 0)
        (minrtt +infinity)
    )
    (bottleRate 125_000)
    (cap 14480)
)
(when true
    (:= Report.minrtt (min Report.minrtt Flow.rtt_sample_us))
    (:= Report.rate (max Report.rate (min Flow.rate_outgoing Flow.rate_incoming)))
    (:= Report.loss (+ Report.loss Ack.lost_pkts_sample))
    (:= Rate (cycle bottleRate (rtt Report.minrtt) (5/4 1rtt) (3/4 2ms) (1 6rtt)))
    (:= Cwnd (if Flow.was_timeout 5792 (max cap 5792)))
    (fallthrough)
)
(when (&& (! Flow.was_timeout) (> Micros 1ms) (> (/ Report.rate Micros) 0))
    (report)
    (reset)
)
