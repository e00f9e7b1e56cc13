(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= gain (if on 1 2 3)) (:= gain (+ 1 (!if on 1 2 3))) (report))
