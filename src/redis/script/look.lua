return {debt, debt_part}
