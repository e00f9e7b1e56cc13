(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= Report.ackd Ack.bytes_acked) (:= Report.latency 5) (report))
