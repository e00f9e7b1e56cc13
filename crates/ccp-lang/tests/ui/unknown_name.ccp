(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when (> Micros limit) (:= gain (+ gian 1)) (report))
