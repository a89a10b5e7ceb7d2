"""What is assigned to a day as a whole, beside the views that the live path adds: always by a formula, so that doing it
again changes nothing.
"""
