(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= on (report)) (:= gain (+ 1 (fallthrough))))
(when (reset) (report))
