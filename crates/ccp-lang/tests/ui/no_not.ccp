(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when (! on) (report))
(when (not on) (report))
