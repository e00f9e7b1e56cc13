(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when on (:= Rate (cycle gain (rtt 5) (2 1s) (1 1s))) (:= Report.acked 1) (:= Report.timeout on) (report))
