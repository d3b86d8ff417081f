import wandb

run = wandb.init(project="tables", id="parity")
people = wandb.Table(columns=["name", "age"], data=[["ann", 30], ["bob", 40]])
people.set_pk("name")
orders = wandb.Table(columns=["who", "what"], data=[["ann", 1], ["bob", 2], ["ann", 3]])
orders.set_fk("who", people, "name")
rows = wandb.Table(columns=["row", "note"])
for index in people.get_index():
    rows.add_data(index, str(index.get_row()))
for index, row in people.iterrows():
    print(index, row)
run.log({"people": people, "orders": orders, "rows": rows})
try:
    joined = wandb.JoinedTable(people, orders, 5)
except ValueError as error:
    print(error)
run.log(
    {
        "joined": wandb.JoinedTable(
            wandb.Table(columns=["k"], data=[["a"]]), wandb.Table(columns=["k"], data=[["a"]]), "k"
        )
    }
)
run.finish()
