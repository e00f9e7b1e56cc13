(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= __gain 5) (:= gain __eventFlag) (report))
