(def (Report (x 0) (x 1)) (a 0) (Report.x 2) (a true))
(when true (report))
