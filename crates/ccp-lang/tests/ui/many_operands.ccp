(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= gain (- 3 2 1)) (:= gain (/ 8 4 2)) (:= on (> 3 2 1)) (:= gain (sat_sub 1)) (report))
