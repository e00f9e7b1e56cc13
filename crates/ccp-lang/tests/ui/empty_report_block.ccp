(def (Report) (gain 1))
(when true (:= gain 2))
