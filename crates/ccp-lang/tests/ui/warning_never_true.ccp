(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when false (report))
(when 0 (report))
