# Twenty ACKs, then a report on what they brought. Report variables without a block.
(def (Report.acked 0) (Control.acks 0) (Report.cwnd 0) (Report.rate 0))
(when true
    (:= Report.acked (+ Report.acked Ack.bytes_acked))
    (:= Control.acks (+ Control.acks 1))
    (:= Report.cwnd Cwnd)
    (:= Report.rate Rate)
    (fallthrough)
)
(when (== Control.acks 20)
    (report)
)
