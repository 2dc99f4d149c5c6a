"""What a file tells the others, and what they tell it: functions and classes of other files as bodies without code."""
