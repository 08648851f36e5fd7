-- One of several limits: what is missing from it, and how to go on with it.
return {debt, debt_part, fit = fit, put = put}
