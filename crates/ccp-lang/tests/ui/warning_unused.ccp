(def (Report (volatile acked 0) (marks 0)) (gain 2) (volatile seen false))
(when true (:= Report.acked Ack.bytes_acked) (:= seen true) (report))
