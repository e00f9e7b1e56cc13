(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= gain (+ 1 (if on 2))) (report))
(when (if on true) (report))
