import wandb

run = wandb.init(project="tables", id="parity")
mutable = wandb.Table(columns=["a"], log_mode="MUTABLE")
for number in range(3):
    mutable.add_data(number)
    run.log({"mutable": mutable})
    run.log({"mutable": mutable})
mutable.add_column("b", ["x", "y", "z"])
run.log({"mutable": mutable})

growing = wandb.Table(columns=["a", "s"], log_mode="INCREMENTAL")
for number in range(3):
    growing.add_data(number, "first")
    growing.add_data(number + 10, "second")
    run.log({"growing": growing, "number": number})
run.log({"growing": growing})
another = wandb.Table(columns=["a"], data=[[1]], log_mode="INCREMENTAL")
run.log({"another": another})
another.add_data(2)
run.log({"another": another})
try:
    growing.add_column("late", [1] * 6)
except wandb.Error as error:
    print(error)

fixed = wandb.Table(columns=["a"], data=[[1]])
print(fixed.has_been_logged())
run.log({"first": fixed})
print(fixed.has_been_logged())
fixed.add_data(2)
run.log({"second": fixed, "third": fixed})
run.finish()
