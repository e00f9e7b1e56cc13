(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (ewma 8 gain) (:= gain (max 1 (ewma 8 gain))) (report))
