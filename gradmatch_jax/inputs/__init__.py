"""The door: what a user hands over becomes checked values and arrays, or one line of advice."""
