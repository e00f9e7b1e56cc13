(def (Report (volatile acked 0)) (gain 2))
(when true (:= scratch gain) (:= gain2 1) (:= Report.acked 1) (report))
