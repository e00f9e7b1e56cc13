(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= gain (+ 1 2 3)) (:= gain) (:= gain (min 1)) (report now) (if on))
