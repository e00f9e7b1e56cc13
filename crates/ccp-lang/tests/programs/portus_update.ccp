# Reports once the window is what the agent asked for, or after ten seconds.
(def (Report.acked 0) (Report.cwnd 0) (Report.rate 0))
(when true
    (:= Report.acked Ack.bytes_acked)
    (:= Report.cwnd Cwnd)
    (:= Report.rate Rate)
    (fallthrough)
)
(when (== Cwnd 42)
    (report)
)
(when (> Micros 10000000)
    (report)
)
