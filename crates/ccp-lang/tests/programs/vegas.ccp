# Vegas: acknowledged bytes and the round-trip time, once per round trip.
(def (Report (volatile acked 0) (volatile rtt 0)))
(when true
    (:= Report.acked (+ Report.acked Ack.bytes_acked))
    (:= Report.rtt Flow.rtt_sample_us)
    (fallthrough)
)
(when (> Micros Flow.rtt_sample_us)
    (report)
    (reset)
)
