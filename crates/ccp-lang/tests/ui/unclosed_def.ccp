(def (Report (acked 0))
(when true (report))
