# What portus refuses or panics on, and its documents promise: bare conditions, `==` on booleans,
# `>=`, `<=`, `!=`, `if` on any target and as a statement.
(def
    (Report (volatile n 0) (volatile seen false) (avg 0))
    (on true)
    (limit 5)
)
(when on
    (:= Report.n (+ Report.n 1))
    (:= Report.seen (== on true))
    (:= Cwnd (if (>= Report.n 3) (+ Cwnd Ack.bytes_acked)))
    (:= Rate (ewma 7 Flow.rate_incoming))
    (:= smooth (ewma 5 Flow.rtt_sample_us))
    (:= Report.avg smooth)
    (if (!= Ack.lost_pkts_sample 0)
        (:= Cwnd (/ Cwnd 2))
        (report)
    )
    (fallthrough)
)
(when Flow.was_timeout
    (:= on (<= Report.n limit))
    (report)
)
(when Ack.ecn_packets
    (!if Report.seen (report))
)
