(def (Report (volatile least 4294967296)) (gain 1073741823))
(when true (:= Report.least gain) (report))
