(def (Report (acked 0)))
(def (gain 2))
(when true (report))
