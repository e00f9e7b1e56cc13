(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when (=> Micros gain) (maxx 1 2) (report))
