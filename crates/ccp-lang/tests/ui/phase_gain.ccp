(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= Rate (cycle gain (0 1rtt) (1/0 1rtt) (1000001 1rtt) (-1 1rtt))) (report))
