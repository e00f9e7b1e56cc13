(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= gain (ewma on 5)) (:= gain (ewma 5 on)) (:= on (ewma 5 5)) (report))
