(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= Rate (cycle gain (1/999983 1s) (1/999979 1s) (1 1s))) (report))
