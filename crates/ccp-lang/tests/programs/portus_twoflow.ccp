# Reports the number that the agent has set, once.
(def (Control.number 0) (Report.value 0))
(when (> Control.number 0)
    (:= Report.value Control.number)
    (:= Control.number 0)
    (report)
)
