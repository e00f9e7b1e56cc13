(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= __shouldReport true) (:= gain __eventFlag) (:= true 1) (report))
