(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= state 1) (:= gain state) (:= state (> gain 1)) (report))
