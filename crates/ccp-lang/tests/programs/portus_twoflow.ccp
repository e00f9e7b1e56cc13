# Reports when the agent has set a number; the misspelt name is a local variable of its own, so it
# goes on reporting.
(def (Control.number 0) (Report.value 0))
(when (> Control.number 0)
    (:= Report.value Control.number)
    (:= Control.numbr 0)
    (report)
)
