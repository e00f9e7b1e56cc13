(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when (! gain) (report))
(when (not (+ gain 1)) (report))
(when (! on on) (report))
