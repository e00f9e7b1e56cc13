(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when (> (cycle gain (1 1s) (2 1s)) 1) (report))
