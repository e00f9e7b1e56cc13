(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= gain 1.5ms) (:= gain 20000000000000s) (:= gain 5min) (:= gain 5MS) (report))
