"""Speed, memory and accuracy of the solvers and selections by themselves."""
