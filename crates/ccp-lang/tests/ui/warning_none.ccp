(def (Report (volatile acked 0)) (on true))
(when on (:= Report.acked (+ Report.acked Ack.bytes_acked)) (report))
