(def (Report (volatile acked 0)) (gain 2))
(when true (+ gain 1) gain (:= Report.acked 1) (report))
