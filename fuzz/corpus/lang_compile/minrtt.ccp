# The smallest round-trip time of every 42 ms.
(def (Report
    (volatile minrtt +infinity)
))
(when true
    (:= Report.minrtt (min Report.minrtt Flow.rtt_sample_us))
    (fallthrough)
)
(when (> Micros 42000)
    (report)
    (reset)
)
