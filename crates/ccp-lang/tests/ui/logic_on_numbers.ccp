(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when (&& on gain (> Cwnd 1)) (report))
(when (|| (+ 1 gain) on) (report))
