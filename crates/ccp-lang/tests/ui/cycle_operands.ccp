(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= Rate (cycle on (rtt on) (1 1rtt))) (:= on (cycle 1 (2 1s))) (report))
