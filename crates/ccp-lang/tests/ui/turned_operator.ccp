(def (Report (volatile acked 0)))
(when (=> Micros 10ms) (:= Report.acked 1) (report))
(when (=< Micros 10ms) (:= Report.acked Ack.bytes_acked) (report))
