(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (1 2) ((+ 1 2) 3) (report))
