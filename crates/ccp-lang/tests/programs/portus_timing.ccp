# One report, after three seconds.
(def (Report.acked 0) (Control.done 0) (Report.cwnd 0) (Report.rate 0))
(when true
    (:= Report.acked Ack.bytes_acked)
    (:= Report.cwnd Cwnd)
    (:= Report.rate Rate)
    (fallthrough)
)
(when (&& (> Micros 3000000) (== Control.done 0))
    (:= Control.done 1)
    (report)
)
