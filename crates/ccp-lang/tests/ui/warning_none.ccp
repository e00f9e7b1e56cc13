(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when on (:= Report.acked (+ Report.acked Ack.bytes_acked)) (report))
