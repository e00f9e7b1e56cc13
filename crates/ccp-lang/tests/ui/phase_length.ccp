(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= Rate (cycle gain (1 0rtt) (2 0ms) (3 5000s) (4 1.5ms) (5 10))) (report))
